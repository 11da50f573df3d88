"""What people already have: files and databases, read once from their beginning to their end, in steps that can be
taken up again."""
