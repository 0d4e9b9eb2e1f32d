public class app {
    public int handler(String event) {
        return event.length();
    }
}
