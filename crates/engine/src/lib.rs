//! Backup, verify and restore: plan, source, pipeline, publish
