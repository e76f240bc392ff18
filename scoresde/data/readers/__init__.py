"""Data sets: each function returns a `Data`.  One that reads files says in notes what it guessed and left out."""
