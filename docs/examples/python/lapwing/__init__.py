"""A Lapwing user in Python: draws a token, places a request, books the first free slot."""
