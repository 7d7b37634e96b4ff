import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.pytorch.executorch.DType;
import org.pytorch.executorch.EValue;
import org.pytorch.executorch.ExecuTorchRuntime;
import org.pytorch.executorch.Module;
import org.pytorch.executorch.Tensor;

/**
 * Executes a method through the classes that an app uses, and writes down every output of every step.
 *
 * <p>The folder holds {@code call.txt}, a line for each fact: {@code program PATH}, {@code method NAME},
 * {@code mode FILE|MMAP}, {@code threads N}, {@code steps N}, {@code input DTYPE SIZE...} in order, and
 * {@code feed OUTPUT INPUT} for an output that is the next step's input; and {@code inputs.bin}, the inputs' bytes one
 * after another. Written: {@code outputs.bin}, the outputs' bytes in order, step after step. All little-endian.
 */
public final class Execute {
  private final Path folder;
  private final List<Tensor> inputs = new ArrayList<>();
  private final List<int[]> feeds = new ArrayList<>();
  private String program;
  private String method;
  private int mode;
  private int threads;
  private int steps;

  private Execute(Path folder) {
    this.folder = folder;
  }

  public static void main(String[] arguments) {
    int status = 0;
    try {
      System.load(arguments[0]); // the bridge: Android's libraries
      if (arguments.length == 1) tellFacts();
      else new Execute(Path.of(arguments[1])).call();
    } catch (IOException | RuntimeException | LinkageError error) {
      System.err.println(error);
      status = 1;
    }
    System.exit(status); // a thread of the runtime's Java side never ends
  }

  private static void tellFacts() {
    System.out.println("operators " + ExecuTorchRuntime.getRegisteredOps().length);
    System.out.println("backends " + String.join(" ", ExecuTorchRuntime.getRegisteredBackends()));
  }

  private void call() throws IOException {
    read();
    run();
  }

  private void read() throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(folder.resolve("inputs.bin")));
    for (String line : Files.readAllLines(folder.resolve("call.txt"))) {
      String[] word = line.split(" ", 2);
      switch (word[0]) {
        case "program": program = word[1]; break;
        case "method": method = word[1]; break;
        case "mode": mode = word[1].equals("MMAP") ? Module.LOAD_MODE_MMAP : Module.LOAD_MODE_FILE; break;
        case "threads": threads = Integer.parseInt(word[1]); break;
        case "steps": steps = Integer.parseInt(word[1]); break;
        case "input": inputs.add(tensor(word[1].split(" "), bytes)); break;
        case "feed": feeds.add(Arrays.stream(word[1].split(" ")).mapToInt(Integer::parseInt).toArray()); break;
        default: throw new IOException("call.txt: unknown line: " + line);
      }
    }
    if (bytes.hasRemaining()) throw new IOException("inputs.bin has " + bytes.remaining() + " bytes too many");
  }

  private static Tensor tensor(String[] words, ByteBuffer from) throws IOException {
    long[] shape = Arrays.stream(words).skip(1).mapToLong(Long::parseLong).toArray();
    long size = Tensor.numel(shape) * (words[0].equals("int64") ? Long.BYTES : Float.BYTES);
    ByteBuffer own = ByteBuffer.allocateDirect((int) size).order(ByteOrder.LITTLE_ENDIAN);
    byte[] bytes = new byte[(int) size];
    from.get(bytes);
    own.put(bytes).flip();
    switch (words[0]) {
      case "float32": return Tensor.fromBlob(own.asFloatBuffer(), shape);
      case "int64": return Tensor.fromBlob(own.asLongBuffer(), shape);
      default: throw new IOException("call.txt: inputs are float32 or int64, this is " + words[0]);
    }
  }

  private void run() throws IOException {
    Module module = Module.load(program, mode, threads);
    EValue[] given = inputs.stream().map(EValue::from).toArray(EValue[]::new);
    try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(folder.resolve("outputs.bin")))) {
      for (int step = 0; step < steps; step++) {
        long start = System.nanoTime();
        EValue[] made = module.execute(method, given);
        System.out.printf("ms %.3f%n", (System.nanoTime() - start) / 1e6);
        for (EValue value : made) out.write(bytes(value.toTensor()));
        for (int[] feed : feeds) given[feed[1]] = EValue.from(copy(made[feed[0]].toTensor()));
      }
    }
    module.close();
  }

  /** The next execution writes where this one wrote: what is an input then must lie elsewhere. */
  private static Tensor copy(Tensor tensor) {
    return Tensor.fromBlob(tensor.getDataAsFloatArray(), tensor.shape());
  }

  private static byte[] bytes(Tensor tensor) throws IOException {
    if (tensor.dtype() != DType.FLOAT) throw new IOException("outputs are float32, this is " + tensor.dtype());
    float[] values = tensor.getDataAsFloatArray();
    ByteBuffer bytes = ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(values);
    return bytes.array();
  }
}
