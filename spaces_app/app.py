"""The Space of the Hub: serves the model that the variable RSS_MODEL names."""

from rss_hf.demo.app import main


if __name__ == "__main__":
    main()
