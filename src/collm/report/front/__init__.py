"""The report: one page that opens with the overview, then a section per benchmark; no network."""
