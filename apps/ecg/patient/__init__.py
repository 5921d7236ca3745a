"""The virtual patient: what it is (traits), its rhythm, its waves, and what disturbs the recording."""
