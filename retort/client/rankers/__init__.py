"""Rankers of others over HTTP: the shapes of their routes, how they are asked, what they answer."""
