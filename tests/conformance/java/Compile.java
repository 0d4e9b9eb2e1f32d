import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;

/** Compiles each source into a folder of its own, in one virtual machine: `Compile CLASSPATH SOURCE FOLDER …`. */
public class Compile {
    public static void main(String[] arguments) {
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        for (int i = 1; i < arguments.length; i += 2) {
            new File(arguments[i + 1]).mkdirs();
            List<String> options = new ArrayList<>(List.of("--release", "17", "-encoding", "UTF-8", "-nowarn", "-proc:none"));
            options.addAll(Arrays.asList("-classpath", arguments[0], "-d", arguments[i + 1], arguments[i]));
            if (compiler.run(null, null, null, options.toArray(String[]::new)) != 0) System.exit(1);
        }
    }
}
