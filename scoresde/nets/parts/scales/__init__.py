"""What networks of several resolutions share: how it falls and rises, pictures beside the levels, filters."""
