//! A consistent image, as a sized byte stream, of a SQLite database that others are writing
