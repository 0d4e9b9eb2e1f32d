package needs_missing;

public class handler extends missing.Thing {}
