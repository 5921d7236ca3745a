"""The show of the industrial app: three virtual turbofans that begin to wear out in new ways."""
