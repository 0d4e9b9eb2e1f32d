"""What the tests stand on: start and kill Hearth, talk to every door of it, find what it left behind.

Everything but `aws` is standard library only, so that the conformance cases also run where there is
no pip (a small guest): see `conformance/__main__.py`.
"""
