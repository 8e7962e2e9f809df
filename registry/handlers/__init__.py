"""HTTP: parse the request into a value, authorize it, ask one verb of a Repository, answer with headers.

A handler takes the HTTP request, the parsed call and the Repository, and either answers or raises an OCIError, which
`errors` alone turns into a response. It never learns which store or index is behind the Repository.
"""
