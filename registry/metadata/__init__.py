"""The index: repositories, tags, manifests and their relations. One set of SQL, a file for each noun.

A function takes a Queries first and reads or writes one thing; whoever calls it decides which functions make one
transaction. `database` says what an engine must do, `sqlite` is the embedded one.
"""
