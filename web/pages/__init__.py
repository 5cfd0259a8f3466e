"""The pages for people: Flask templates, small JavaScript modules that ask `/v1`, and no build step."""
