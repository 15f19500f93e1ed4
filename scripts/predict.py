"""`rss-hf predict`, from a clone."""

from rss_hf.cli.predict import main


if __name__ == "__main__":
    main()
