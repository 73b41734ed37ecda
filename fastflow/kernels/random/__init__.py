"""Random numbers inside kernels: the words of a stream, and what is made of them."""
