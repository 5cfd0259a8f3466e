"""The fine-tuning of the segmentation network: made-up turn-taking, meetings mixed from recordings, the network."""
