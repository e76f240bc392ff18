"""Arrays and tables, in memory and in files."""
