"""Words beside items: `columns.py` makes tokens of columns of text, `templates.py` joins columns into captions,
`digits.py` says what a digit is."""
