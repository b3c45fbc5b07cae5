"""The relay's side towards its clients: what they are sent, who is let in, and what is answered."""
