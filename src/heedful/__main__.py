"""``python -m heedful`` is ``heedful``."""

from heedful.app import main

if __name__ == "__main__":
    main()
