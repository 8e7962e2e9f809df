"""Who is asking, and may they have this: passwords, tokens, and the Gate that every request passes.

The modules that handlers see (`gate`, `token`) know users by the protocol `Directory`; `accounts` is the one that
knows where they are kept, and `setup` makes the Gate that a configuration asks for.
"""
