package missing;

/** Compiled against, and taken away. */
public class Thing {}
