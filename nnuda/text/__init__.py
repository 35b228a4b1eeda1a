"""Text: prompts, text encoders through open_clip, and where their weights come from."""
