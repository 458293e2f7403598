"""Reading: how a text reaches the model: sentences, words and windows, and what is told of them."""
