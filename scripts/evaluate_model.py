"""`rss-hf evaluate`, from a clone."""

from rss_hf.cli.evaluate import main


if __name__ == "__main__":
    main()
