"""`rss-hf train`, from a clone."""

from rss_hf.cli.train import main


if __name__ == "__main__":
    main()
