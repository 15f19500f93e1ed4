"""`rss-hf push`, from a clone."""

from rss_hf.cli.push import main


if __name__ == "__main__":
    main()
