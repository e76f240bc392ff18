"""What networks share: blocks, attention, embeddings, and how conditions enter."""
