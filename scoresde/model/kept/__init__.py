"""Files of tensors in a model's folder: the weights, their other averages, the moments of the data; and their names."""
