"""Authentication of requests: tokens, sign-in of browsers and origins."""
