"""The commands of `rss-hf`, a module each."""
