"""What a broker has, and what would become of its messages: looked at, with nothing stored."""
