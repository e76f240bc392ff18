"""Tasks that look at a model, or at a training before it begins: a description, a check, a page, pictures, a demo."""
