-- Users that the registry keeps itself; `password` is an Argon2 hash with its parameters (PHC string format).

CREATE TABLE users (
    name TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) WITHOUT ROWID;
