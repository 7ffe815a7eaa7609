"""The methods as pure functions named after the paper's symbols, and the table of rows (`registry`)."""
