"""What makes the pages of docs/: the site's extensions, and the page of settings.  Nothing of scoresde imports it.

`mathml.py`: equations without JavaScript; `docstrings.py`: from the code's docstrings to reStructuredText; `rooms.py`:
the pages of the API; `repository.py`: links to files beside docs/, and from an equation to the test that proves it;
`settings_page.py`: docs/reference/settings.md.
"""
