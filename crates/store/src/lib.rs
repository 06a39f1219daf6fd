//! Destinations: where an archive goes, whole or not at all
