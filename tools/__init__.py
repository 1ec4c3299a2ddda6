"""What makes and checks the book: python -m tools.NAME"""
