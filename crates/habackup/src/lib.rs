//! Home Assistant's backup format: the outer tar, backup.json, SecureTar, the rules of its readers, the index
