"""What is in deploy/, tried with the real programs it is written for, where these can be had."""
