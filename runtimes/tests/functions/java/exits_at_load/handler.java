package exits_at_load;

public class handler {
    static {
        System.out.print("last words\n");
        System.exit(3);
    }
}
