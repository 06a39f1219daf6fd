//! A realistic Home Assistant config directory, and a recorder that keeps writing to it
