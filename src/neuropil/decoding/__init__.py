"""Decoding: from activity to what was seen, heard, meant or done."""
