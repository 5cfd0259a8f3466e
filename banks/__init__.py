"""Banks of enrolled speakers: what a bank is, its npz files, its versions in Redis, and matching against it."""

from banks.bank import Bank, Clips, same_model

__all__ = ["Bank", "Clips", "same_model"]
