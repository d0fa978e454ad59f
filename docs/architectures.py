"""Which attention of which architectures is met, and whether its numbers are right, from tiny random models.

``python docs/architectures.py`` writes ``docs/architectures.md`` beside this file; ``--only swin,clip --print`` shows
some rows with everything that is wrong with them.
"""

from architectures.page import main

if __name__ == "__main__":
    main()
