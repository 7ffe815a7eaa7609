"""Result files into statistics, tables and figures; no model and no GPU."""
