package android.util;

/** The one class of Android's that the runtime's Java side names. */
public final class Log {
  private Log() {}

  public static int d(String tag, String text) { return 0; }

  public static int i(String tag, String text) { return 0; }

  public static int w(String tag, String text) { return say(tag, text); }

  public static int e(String tag, String text) { return say(tag, text); }

  public static int e(String tag, String text, Throwable cause) { return say(tag, text + ": " + cause); }

  private static int say(String tag, String text) {
    System.err.println(tag + ": " + text);
    return 1;
  }
}
